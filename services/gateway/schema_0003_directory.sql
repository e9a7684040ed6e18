-- Directory entries as rows of their own. The partner's file (which two people activate) makes an
-- entry and takes it away; in between its owner keeps it. What the file says is kept as `seed`: a
-- file that changes a field changes it here, an unchanged one leaves the owner's word alone.

create table gateway.entry (
    entry_ref uuid primary key,
    id text not null unique,
    org text not null references gateway.partner (org) on delete cascade,
    version integer not null default 1,
    seed jsonb not null,
    record jsonb not null,
    removed boolean not null default false,
    capacity_updated_at timestamptz not null default clock_timestamp(),
    changed_at timestamptz not null default clock_timestamp(),
    announced_version integer not null default 0,
    announced_stale boolean not null default false,
    check (record ->> 'address_confidentiality' is distinct from 'secret'
           or (record -> 'address' is null or record -> 'address' = 'null')
              and jsonb_array_length(record -> 'admin1') = 0)
);
create index entry_org on gateway.entry (org);
create index entry_unannounced on gateway.entry (entry_ref) where announced_version < version;
comment on column gateway.entry.removed is 'No longer in the partner''s file: shown to nobody.';

-- What a secret entry may hold: no address and no place below the country.
create function gateway.kept_secret(entry jsonb) returns jsonb
language sql immutable set search_path = gateway, pg_temp
as $$
    select case when entry ->> 'address_confidentiality' = 'secret'
                then entry || '{"address": null, "admin1": []}' else entry end
$$;

create function gateway.seed_entries() returns trigger
language plpgsql set search_path = gateway, pg_temp
as $$
begin
    update entry e
       set removed = true, seed = '{}', version = e.version + 1, changed_at = clock_timestamp(),
           record = e.record || '{"directory_status": "defunct"}'
     where e.org = new.org and not e.removed
       and not exists (select from jsonb_array_elements(new.record -> 'services') s
                        where s ->> 'id' = e.id);
    insert into entry as e (entry_ref, id, org, seed, record)
    select (s ->> 'entry_ref')::uuid, s ->> 'id', new.org, s, kept_secret(s)
      from jsonb_array_elements(new.record -> 'services') s order by s ->> 'id'
    on conflict (id) do update
       set entry_ref = excluded.entry_ref, org = excluded.org, seed = excluded.seed,
           removed = false, version = e.version + 1, changed_at = clock_timestamp(),
           capacity_updated_at = case
               when e.seed -> 'capacity_status' is distinct from excluded.seed -> 'capacity_status'
               then clock_timestamp() else e.capacity_updated_at end,
           record = kept_secret(e.record || coalesce((
               select jsonb_object_agg(k, v) from jsonb_each(excluded.seed) f(k, v)
                where e.seed -> k is distinct from v), '{}'))
     where e.seed is distinct from excluded.seed;
    return null;
end $$;
create trigger entries after insert or update of record on gateway.partner
    for each row when (new.record is not null) execute function gateway.seed_entries();
update gateway.partner set record = record where record is not null;

-- The record that everybody reads: its services are the entries as they stand.
create or replace function gateway.partners()
returns table (org text, version integer, record jsonb)
language sql stable security definer set search_path = gateway, pg_temp
as $$
    select p.org, p.version, p.record || jsonb_build_object('services', coalesce((
               select jsonb_agg(e.record || jsonb_build_object(
                          'entry_ref', e.entry_ref, 'id', e.id, 'version', e.version,
                          'capacity_updated_at', e.capacity_updated_at) order by e.id)
                 from gateway.entry e where e.org = p.org and not e.removed), '[]'))
      from gateway.partner p where p.record is not null
$$;

-- 5W rows as last reported: counts per organisation, place, month and indicator; nobody's data.
create table gateway.indicator (
    org text not null,
    country text not null,
    admin1 text not null,
    month text not null,
    code text not null,
    version integer not null default 1,
    record jsonb not null,
    reported_at timestamptz not null,
    primary key (org, country, admin1, month, code)
);
comment on column gateway.indicator.admin1 is 'Empty where the country has no parts.';
