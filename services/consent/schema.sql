-- Consent by case: append-only, so that any past decision can be evaluated again from what was
-- live at its version. Every writer holds the exclusive lock of the case and adds 1 to the version;
-- whoever acts on a decision holds the shared one (hold). No identity: codes, ids and times only.

-- Forms of what may stand here: a code, or the id of a notice or person. No form can hold a name.
create domain consent.code as text check (value ~ '^[a-z0-9][a-z0-9_.-]{0,63}$');
create domain consent.mark as text check (value ~ '^[A-Za-z0-9][A-Za-z0-9._:/#|@-]{0,199}$');

create table consent.setting (
    only_row boolean primary key default true check (only_row),
    cell text not null
);

create table consent.version (
    case_ref uuid primary key,
    version bigint not null check (version > 0)
) with (fillfactor = 70);

create table consent.record (
    consent_ref uuid not null,
    since_version bigint not null,
    until_version bigint,
    case_ref uuid not null,
    source_org text not null check (source_org ~ '^[a-z][a-z0-9-]{2,31}$'),
    status text not null
        check (status in ('given', 'renewed', 'withdrawn', 'revoked', 'expired', 'invalidated')),
    legal_basis text not null check (legal_basis in (
        'consent', 'vital_interest', 'legal_obligation', 'best_interests_of_child')),
    reason_code consent.code,
    approver_ref consent.mark,
    notice consent.mark not null,
    language text not null check (language ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$'),
    form consent.code not null,
    giver consent.code not null,
    assent consent.code,
    given_at timestamptz not null,
    valid_from timestamptz not null,
    valid_to timestamptz not null,
    primary key (consent_ref, since_version),
    check (legal_basis = 'consent' or (reason_code is not null and approver_ref is not null)),
    check (valid_from < valid_to)
);
create unique index record_current on consent.record (consent_ref)
    where until_version is null and since_version > 0;
create index record_case on consent.record (case_ref);

create table consent.item (
    item_id bigint generated always as identity primary key,
    consent_ref uuid not null,
    since_version bigint not null,
    until_version bigint,
    case_ref uuid not null,
    decision text not null check (decision in ('permit', 'deny')),
    purpose consent.code,
    to_org consent.code,
    to_kind consent.code,
    data_categories text[] not null,
    valid_from timestamptz not null,
    valid_to timestamptz not null,
    check (decision = 'deny' or (purpose is not null and to_org is not null and to_kind is null
                                 and cardinality(data_categories) > 0)),
    check (decision = 'permit' or to_org is not null or to_kind is not null)
);
create index item_case on consent.item (case_ref);
create index item_current on consent.item (consent_ref, until_version);
-- For `due` alone, which repeats the predicate. A partial index whose predicate gate, hold or load
-- imply, they may walk from end to end by a plan made while the table was empty: all live items of
-- the cell for each case. So no index of these tables may be partial on until_version alone.
create index item_end on consent.item (valid_to) where until_version is null and since_version > 0;

-- A key of (case, purpose) that died: the current key version is one more than the highest here.
create table consent.dead_key (
    case_ref uuid not null,
    purpose text not null,
    key_version integer not null,
    since_version bigint not null,
    primary key (case_ref, purpose, key_version)
);

-- What a withdrawal answered, so that its repeat changes nothing.
create table consent.command (
    command_id uuid primary key,
    consent_ref uuid not null,
    effective_at timestamptz,
    version bigint not null,
    at timestamptz not null default clock_timestamp()
);

-- Who received something under a consent, and what they say they did after its end.
create table consent.disclosure (
    consent_ref uuid not null,
    case_ref uuid not null,
    to_org text not null,
    last_at timestamptz not null,
    primary key (consent_ref, to_org)
);
create table consent.effect (
    erasure_ref uuid primary key,
    case_ref uuid not null,
    to_org text not null,
    withdrawal_effect text not null,
    reported_at timestamptz not null
);
create index effect_case on consent.effect (case_ref);

create table consent.cursor (
    consumer text not null,
    case_ref uuid not null,
    last_seq bigint not null,
    parked boolean not null default false,
    primary key (consumer, case_ref)
) with (fillfactor = 70);

create function consent.k(case_ref uuid) returns bigint
language sql immutable strict parallel safe
as $$ select hashtextextended(case_ref::text, 0) $$;

-- May facts sealed for this purpose be published now? One live permit for (case, purpose); for
-- statistics it must name the cell. Takes no lock: the caller orders it after its own. Volatile on
-- purpose: a stable function would see the snapshot of its caller, from before a wait.
create function consent.gate(cases uuid[], purposes text[]) returns boolean[]
language plpgsql security definer set search_path = consent, pg_temp
as $$
declare at timestamptz := clock_timestamp();
begin
    return (
        select array_agg(exists (
            select 1 from consent.item i
            where i.case_ref = u.c and i.purpose = u.p and i.decision = 'permit'
              and i.until_version is null and i.valid_from <= at and i.valid_to > at
              and (u.p <> 'statistics' or i.to_org = (select s.cell from consent.setting s))
        ) order by u.o)
        from unnest(cases, purposes) with ordinality u(c, p, o));
end $$;

-- Hold the consent of these cases still until the transaction ends. The lock is one statement and
-- the read the next: in one statement the read would see the state from before the wait.
create function consent.hold(cases uuid[])
returns table (case_ref uuid, version bigint, valid_to timestamptz, at timestamptz)
language plpgsql security definer set search_path = consent, pg_temp
as $$
#variable_conflict use_column
declare now_ timestamptz;
begin
    if cardinality(cases) > 64 then
        raise exception 'consent.hold: more than 64 cases' using errcode = '22023';
    end if;
    perform pg_advisory_xact_lock_shared(s.k)
        from (select distinct consent.k(c) k from unnest(cases) c order by 1) s;
    now_ := clock_timestamp();
    return query
        select u.c, coalesce(v.version, 0), m.first_end, now_
        from (select distinct c from unnest(cases) c) u
        left join consent.version v on v.case_ref = u.c
        left join lateral (
            select min(i.valid_to) first_end from consent.item i
            where i.case_ref = u.c and i.until_version is null and i.decision = 'permit'
              and i.valid_to > now_
        ) m on true;
end $$;

-- Exclusive lock of one case and its version after the wait; for the consent service alone.
create function consent.lock(of_case uuid) returns table (version bigint, at timestamptz)
language plpgsql set search_path = consent, pg_temp
as $$
#variable_conflict use_column
begin
    perform pg_advisory_xact_lock(consent.k(of_case));
    return query select coalesce(max(v.version), 0), clock_timestamp()
        from consent.version v where v.case_ref = of_case;
end $$;

-- Store submitted consents and their consent.given. Each item's case must stand at `expected`
-- (0: no consent yet), else P0C02 and nothing is stored: whoever decided must decide again.
-- A known consent_ref is a renewal: same case and source, still active, nothing permitted before
-- is left out (that would be a withdrawal); else P0C03. So is an emergency without vital interest.
create function consent.record(
    records jsonb, expected bigint[], event_ids uuid[], event_schemas int[], event_bodies bytea[]
) returns bigint[]
language plpgsql security definer set search_path = consent, pg_temp
as $$
declare
    n int := jsonb_array_length(records);
    cases uuid[];
    refs uuid[];
    versions bigint[];
begin
    if n = 0 or n > 64 or cardinality(expected) <> n then
        raise exception 'consent.record: wrong number of items' using errcode = '22023';
    end if;
    select array_agg((r ->> 'case_ref')::uuid order by o),
           array_agg((r ->> 'consent_ref')::uuid order by o)
      into cases, refs
      from jsonb_array_elements(records) with ordinality u(r, o);
    perform pg_advisory_xact_lock(s.k)
        from (select distinct consent.k(c) k from unnest(cases) c order by 1) s;
    select array_agg(coalesce(v.version, 0) + q.nth order by q.o) into versions
      from (select c, o, row_number() over (partition by c order by o) nth
              from unnest(cases) with ordinality u(c, o)) q
      left join consent.version v on v.case_ref = q.c;
    if exists (select from unnest(versions, expected) u(v, e) where v is distinct from e + 1) then
        raise exception 'consent.record: consent of a case has changed' using errcode = 'P0C02';
    end if;
    if exists (
        select from jsonb_to_recordset(records) r(legal_basis text, rules jsonb)
         cross join lateral jsonb_populate_recordset(null::consent.item, r.rules) i
         where i.decision = 'permit'
           and ((r.legal_basis = 'vital_interest') <> (i.purpose = 'emergency')
                or i.purpose = 'emergency'
                   and not i.data_categories <@ array['pseudonymous_core', 'contact']))
    then
        raise exception 'consent.record: emergency is vital interest' using errcode = 'P0C03';
    end if;
    if exists (select from unnest(refs) u(r) group by r having count(*) > 1)
       or exists (select from consent.record r
                   where r.consent_ref = any(refs) and r.until_version is null) then
        perform consent.end_renewed(records, refs, versions);
    end if;
    insert into consent.record
        select r.consent_ref, versions[o], null, r.case_ref, r.source_org, r.status,
               r.legal_basis, r.reason_code, r.approver_ref, r.notice, r.language, r.form, r.giver,
               r.assent, r.given_at, r.valid_from, r.valid_to
          from jsonb_array_elements(records) with ordinality u(j, o)
         cross join lateral jsonb_populate_record(null::consent.record, j) r;
    insert into consent.item (consent_ref, since_version, case_ref, decision, purpose, to_org,
                              to_kind, data_categories, valid_from, valid_to)
        select refs[o], versions[o], cases[o], i.decision, i.purpose, i.to_org, i.to_kind,
               i.data_categories, greatest(i.valid_from, (j ->> 'valid_from')::timestamptz),
               least(i.valid_to, (j ->> 'valid_to')::timestamptz)
          from jsonb_array_elements(records) with ordinality u(j, o)
         cross join lateral jsonb_array_elements(j -> 'rules') with ordinality w(rule, place)
         cross join lateral jsonb_populate_record(null::consent.item, rule) i
         order by o, place;
    insert into consent.version as x
        select c, max(v) from unnest(cases, versions) u(c, v) group by c order by c
        on conflict (case_ref) do update set version = excluded.version;
    perform bus.put_consent(
        event_ids, array_fill('consent.given'::text, array[n]), cases, event_schemas,
        array_fill(null::text, array[n]), event_bodies,
        array_fill(null::bytea, array[n]), array_fill(null::bytea, array[n]));
    return versions;
end $$;

-- End the former content of renewed consents; refuses what is not a renewal.
create function consent.end_renewed(records jsonb, refs uuid[], versions bigint[]) returns void
language plpgsql set search_path = consent, pg_temp
as $$
begin
    if exists (select from unnest(refs) u(r) group by r having count(*) > 1)
       or exists (
            select from consent.record r
              join jsonb_to_recordset(records) n(consent_ref uuid, case_ref uuid, source_org text)
                on n.consent_ref = r.consent_ref
             where r.until_version is null
               and (r.case_ref <> n.case_ref or r.source_org <> n.source_org
                    or r.status not in ('given', 'renewed')))
       or exists (
            select from consent.item i
             where i.consent_ref = any(refs) and i.until_version is null
               and i.decision = 'permit' and i.valid_to > clock_timestamp()
               and not exists (
                    select from jsonb_to_recordset(records) n(consent_ref uuid, rules jsonb)
                     cross join lateral jsonb_populate_recordset(null::consent.item, n.rules) p
                     where n.consent_ref = i.consent_ref and p.decision = 'permit'
                       and p.to_org = i.to_org and p.purpose = i.purpose
                       and p.data_categories @> i.data_categories))
    then
        raise exception 'consent.record: not a renewal' using errcode = 'P0C03';
    end if;
    update consent.record r set until_version = u.v
      from unnest(refs, versions) u(ref, v)
     where r.consent_ref = u.ref and r.until_version is null;
    update consent.item i set until_version = u.v
      from unnest(refs, versions) u(ref, v)
     where i.consent_ref = u.ref and i.until_version is null;
end $$;

-- One change to one consent, planned under the lock of its case: items end, shorter ones take their
-- place, the status moves, keys die, the version goes up by one.
create function consent.change(
    of_case uuid, of_consent uuid, new_version bigint, new_status text,
    ended bigint[], kept jsonb, dead_purposes text[], dead_versions int[]
) returns void
language plpgsql set search_path = consent, pg_temp
as $$
begin
    update consent.item set until_version = new_version
     where item_id = any(ended) and until_version is null;
    insert into consent.item (consent_ref, since_version, case_ref, decision, purpose, to_org,
                              to_kind, data_categories, valid_from, valid_to)
        select of_consent, new_version, of_case, i.decision, i.purpose, i.to_org, i.to_kind,
               i.data_categories, i.valid_from, i.valid_to
          from jsonb_populate_recordset(null::consent.item, kept) i;
    update consent.record set until_version = new_version
     where consent_ref = of_consent and until_version is null and status <> new_status;
    if found then
        insert into consent.record
            select r.consent_ref, new_version, null, r.case_ref, r.source_org, new_status,
                   r.legal_basis, r.reason_code, r.approver_ref, r.notice, r.language, r.form,
                   r.giver, r.assent, r.given_at, r.valid_from, r.valid_to
              from consent.record r
             where r.consent_ref = of_consent and r.until_version = new_version;
    end if;
    insert into consent.dead_key
        select of_case, p, k, new_version from unnest(dead_purposes, dead_versions) u(p, k);
    update consent.version set version = new_version where case_ref = of_case;
end $$;

grant execute on function consent.k to gateway, referral, delivery, relay, bus;
grant execute on function consent.gate to bus, relay;
grant execute on function consent.hold to gateway, referral, delivery;
grant execute on function consent.record to gateway;
revoke execute on function consent.lock, consent.change, consent.end_renewed from public;
