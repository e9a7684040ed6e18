-- A record that was put right is a new version of the one that a referral names. One attempt may
-- put several records of a case right.

alter table vault.version add column first_version integer;
comment on column vault.version.first_version is
    'The version in whose place this one stands; null for a record as it was first given.';
alter table vault.version drop constraint version_attempt_key;
create index version_attempt on vault.version (attempt);

-- Identifiers that somebody is no longer known by once the attempt that says so is accepted.
create table vault.taken_away (
    attempt uuid not null references vault.attempt on delete cascade,
    org text not null,
    digest bytea not null,
    subject_ref uuid not null,
    primary key (attempt, org, digest)
);
