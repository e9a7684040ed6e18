-- The custody log: a leaf in the transaction of each effect; later, in order, a place in the tree.
-- Content and salt of a leaf may be erased one day, its hash stays. Nothing is ever updated.

create sequence custody.leaf_number;
create table custody.leaf (
    id bigint primary key default nextval('custody.leaf_number'),
    leaf_ref uuid not null unique,
    kind text not null check (kind in (
        'accepted', 'refused', 'disclosure_intent', 'disclosed', 'not_sent', 'unknown',
        'suppressed', 'withdrawn', 'expired', 'erasure_requested', 'erasure_reported',
        'key_destroyed', 'epoch_destroyed', 'identity_opened', 'notice_due', 'notice_closed',
        'partner_changed',
        'staff_changed', 'replayed', 'given_up')),
    body bytea not null,
    salt bytea not null check (length(salt) = 16),
    hash bytea not null check (length(hash) = 32),
    case_ref uuid,
    caller text not null,
    at timestamptz not null default clock_timestamp()
);
create index leaf_case on custody.leaf (case_ref);

create table custody.waiting (
    id bigint primary key,
    at timestamptz not null default clock_timestamp()
);
comment on table custody.waiting is 'Leaves without a place in the tree.';

create table custody.entry (
    position bigint primary key check (position >= 0),
    leaf_id bigint not null unique
);

create table custody.node (
    level integer not null,
    number bigint not null,
    hash bytea not null check (length(hash) = 32),
    primary key (level, number)
);
comment on table custody.node is
    'Hash of the complete subtree of 2^level leaves from leaf number * 2^level; level 0: leaves.';

create table custody.checkpoint (
    size bigint primary key,
    root bytea not null check (length(root) = 32),
    note text not null,
    at timestamptz not null
);

-- Append leaves in the caller's transaction. The hash must be that of salt and body: a leaf that
-- could not be proved later is not taken.
create function custody.append(
    refs uuid[], kinds text[], bodies bytea[], salts bytea[], hashes bytea[]
) returns void
language plpgsql security definer set search_path = custody, pg_temp
as $$
declare
    n integer := cardinality(refs);
begin
    if n > 64 or n <> all (array[cardinality(kinds), cardinality(bodies), cardinality(salts),
            cardinality(hashes)]) then
        raise exception 'custody.append: at most 64 leaves, arrays of one length'
            using errcode = '42501';
    end if;
    if exists (select from unnest(bodies, salts, hashes) u(b, s, h)
                where sha256('\x00'::bytea || s || b) is distinct from h) then
        raise exception 'custody.append: wrong hash' using errcode = '22023';
    end if;
    with stored as (
        insert into leaf (leaf_ref, kind, body, salt, hash, case_ref, caller)
        select r, k, b, s, h, (convert_from(b, 'UTF8')::jsonb ->> 'case_ref')::uuid, session_user
          from unnest(refs, kinds, bodies, salts, hashes) u(r, k, b, s, h)
        returning id)
    insert into waiting (id) select id from stored;
end $$;
grant execute on function custody.append to gateway, consent, referral, delivery, vault;

-- Leaves of one case for its timeline: kind, time, and whether they stand in a signed tree.
create function custody.of_case(of_case uuid)
returns table (leaf_ref uuid, kind text, at timestamptz, body bytea, "position" bigint,
               signed boolean)
language sql security definer set search_path = custody, pg_temp
as $$
    select l.leaf_ref, l.kind, l.at, l.body, e.position,
           coalesce(e.position < (select max(c.size) from checkpoint c), false)
      from leaf l left join entry e on e.leaf_id = l.id
     where l.case_ref = of_case
     order by l.id
$$;
grant execute on function custody.of_case to gateway;
