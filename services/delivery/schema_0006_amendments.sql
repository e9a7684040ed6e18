-- What was put right in a case: which version stands for the one that a referral names, and who got
-- something before and has yet to get what is right. No content and no fact of the person.

alter table delivery.intent add column vault_version integer;
comment on column delivery.intent.vault_version is 'What was released; null before this column.';

create table delivery.current_version (
    case_ref uuid not null,
    first_version integer not null,
    vault_version integer not null,
    primary key (case_ref, first_version)
);
comment on column delivery.current_version.first_version is 'The version that a referral names.';

create table delivery.amendment (
    case_ref uuid not null,
    version integer not null,
    since_version integer not null,
    data_categories text[] not null,
    at timestamptz not null default clock_timestamp(),
    settled boolean not null default false,
    primary key (case_ref, version)
);
comment on column delivery.amendment.version is 'Of the case.';
comment on column delivery.amendment.since_version is 'What left under a lower version is the old.';
create index amendment_open on delivery.amendment (at) where not settled;

-- Whose turn it was: a new delivery queued, told to read anew, or neither, and by which rule.
create table delivery.rectified (
    referral_ref uuid not null,
    to_org text not null,
    version integer not null,
    result text not null check (result in ('queued', 'told', 'read', 'denied')),
    rule text not null,
    at timestamptz not null default clock_timestamp(),
    primary key (referral_ref, to_org, version)
);
