-- The vault's own database: who somebody is, their records, sealed, and what was let out.
-- Nothing here is readable without the keys of schema `keys` and the key files beside it.

create table vault.subject (
  subject_ref uuid primary key,
  at timestamptz not null default clock_timestamp()
);

-- digest = HMAC(vault's index key; org, system, value): nobody can look a number up without the key
create table vault.identifier (
  org text not null,
  digest bytea not null check (octet_length(digest) = 32),
  subject_ref uuid not null references vault.subject,
  primary key (org, digest)
);
create index identifier_subject on vault.identifier (subject_ref);

-- gone: forgotten, and a sleeper of that attempt that wakes up stores nothing
create table vault.attempt (
  attempt uuid primary key,
  state text not null default 'stored' check (state in ('stored', 'kept', 'gone')),
  at timestamptz not null default clock_timestamp()
);
create index attempt_gone on vault.attempt (at) where state = 'gone';

create table vault.counter (
  case_ref uuid primary key,
  last integer not null
) with (fillfactor = 70);

create table vault.version (
  case_ref uuid not null,
  vault_version integer not null,
  attempt uuid not null unique references vault.attempt,
  subject_ref uuid not null references vault.subject,
  sealed bytea not null,
  at timestamptz not null default clock_timestamp(),
  primary key (case_ref, vault_version)
);
alter table vault.version alter column sealed set storage external;
create index version_subject on vault.version (subject_ref);

-- the record's own key, wrapped under the key of each purpose it may be released for
create table vault.version_key (
  case_ref uuid not null,
  vault_version integer not null,
  purpose text not null,
  key_version integer not null,
  wrapped bytea not null,
  primary key (case_ref, vault_version, purpose),
  foreign key (case_ref, vault_version) references vault.version on delete cascade
);

create table vault.grant_use (
  grant_ref uuid primary key,
  digest bytea not null,
  service text not null,
  used_at timestamptz not null default clock_timestamp()
);

create table vault.opening (
  opening_ref uuid primary key,
  case_ref uuid not null,
  reason_code text not null,
  approver_1 text not null,
  org_1 text not null,
  approver_2 text not null,
  org_2 text not null,
  leaf_ref uuid not null,
  at timestamptz not null default clock_timestamp(),
  check (org_1 <> org_2 and approver_1 <> approver_2)
);

create table vault.quota (
  service text not null,
  minute timestamptz not null,
  people integer not null,
  primary key (service, minute)
) with (fillfactor = 50);

create table vault.cursor (
  consumer text not null,
  case_ref uuid not null,
  last_seq bigint not null,
  parked boolean not null default false,
  primary key (consumer, case_ref)
) with (fillfactor = 70);

-- The keystore: outside every backup (pg_dump --exclude-schema=keys).

create table keys.epoch (
  epoch integer primary key,
  made_at timestamptz not null default clock_timestamp(),
  destroyed_at timestamptz
);

-- a dead row keeps its number, so that no key of that number or below is made again
create table keys.data_key (
  case_ref uuid not null,
  purpose text not null,
  version integer not null check (version >= 0),
  epoch integer,
  wrapped bytea,
  made_at timestamptz not null default clock_timestamp(),
  died_at timestamptz,
  primary key (case_ref, purpose, version),
  check ((died_at is null) = (wrapped is not null and epoch is not null))
) with (fillfactor = 80);
create index data_key_epoch on keys.data_key (epoch) where wrapped is not null;

-- Leaves written with the death of a key, on their way to the custody log in the hub's database.
create table vault.leaf (
  id bigint generated always as identity primary key,
  leaf_ref uuid not null unique,
  kind text not null,
  body bytea not null,
  salt bytea not null,
  hash bytea not null
);
