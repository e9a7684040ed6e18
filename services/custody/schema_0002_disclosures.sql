-- Accounting of disclosures: what left is found by either party of it. The leaf itself (body, salt,
-- hash) stays as it was; these columns repeat what its body says.

alter table custody.leaf add column to_org text, add column from_org text,
    add column referral_ref uuid;
comment on column custody.leaf.from_org is
    'Whose data left; absent on leaves from before this column, whose bodies do not say it.';
update custody.leaf set to_org = convert_from(body, 'UTF8')::jsonb ->> 'to_org',
    referral_ref = (convert_from(body, 'UTF8')::jsonb ->> 'referral_ref')::uuid
 where kind in ('disclosed', 'unknown');
create index leaf_to on custody.leaf (to_org, id) where to_org is not null;
create index leaf_from on custody.leaf (from_org, id) where from_org is not null;
create index leaf_referral on custody.leaf (referral_ref, id) where referral_ref is not null;

create or replace function custody.append(
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
    with read as (
        select r, k, b, s, h, convert_from(b, 'UTF8')::jsonb as j,
               k in ('disclosed', 'unknown') as left_us
          from unnest(refs, kinds, bodies, salts, hashes) u(r, k, b, s, h)
    ), stored as (
        insert into leaf (leaf_ref, kind, body, salt, hash, case_ref, caller, to_org, from_org,
                          referral_ref)
        select r, k, b, s, h, (j ->> 'case_ref')::uuid, session_user,
               case when left_us then j ->> 'to_org' end,
               case when left_us then j ->> 'org' end,
               case when left_us then (j ->> 'referral_ref')::uuid end
          from read
        returning id)
    insert into waiting (id) select id from stored;
end $$;

-- What left, to or from one organisation, in the order of the log; by leaf or by referral if named.
create function custody.disclosures(of_org text, of_leaf uuid, of_referral uuid,
    since timestamptz, until timestamptz, after bigint, most integer)
returns table (id bigint, leaf_ref uuid, kind text, at timestamptz, body bytea)
language plpgsql stable security definer set search_path = custody, pg_temp
as $$
begin
    if of_leaf is not null then
        return query select l.id, l.leaf_ref, l.kind, l.at, l.body from leaf l
            where l.leaf_ref = of_leaf and of_org in (l.to_org, l.from_org);
    elsif of_referral is not null then
        return query select l.id, l.leaf_ref, l.kind, l.at, l.body from leaf l
            where l.referral_ref = of_referral and of_org in (l.to_org, l.from_org)
              and l.id > after and (since is null or l.at >= since)
              and (until is null or l.at <= until)
            order by l.id limit most;
    else
        return query select u.* from (
            (select l.id, l.leaf_ref, l.kind, l.at, l.body from leaf l
              where l.to_org = of_org and l.id > after
                and (since is null or l.at >= since) and (until is null or l.at <= until)
              order by l.id limit most)
            union all
            (select l.id, l.leaf_ref, l.kind, l.at, l.body from leaf l
              where l.from_org = of_org and l.id > after
                and (since is null or l.at >= since) and (until is null or l.at <= until)
              order by l.id limit most)) u
            order by u.id limit most;
    end if;
end $$;
grant execute on function custody.disclosures to gateway;
