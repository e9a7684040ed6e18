-- Referrals: routing data in the clear, what says something of the person as sealed bytes of the
-- case's key (`facts`), so that the dead key reaches this table too.

create table referral.referral (
    referral_ref uuid primary key,
    case_ref uuid not null,
    from_org text not null,
    to_org text not null,
    status text not null,
    version integer not null check (version >= 0),
    purpose text not null,
    consent_ref uuid not null,
    confidentiality text not null,
    data_categories text[] not null,
    directory_entry_ref uuid,
    vault_version integer not null,
    response_due timestamptz,
    replaces uuid,
    onward_of uuid,
    before_cancel text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    facts bytea
) with (fillfactor = 80);
create index referral_case on referral.referral (case_ref);
create index referral_from on referral.referral (from_org, updated_at, referral_ref);
create index referral_to on referral.referral (to_org, updated_at, referral_ref);
create index referral_due on referral.referral (response_due)
    where status in ('sent', 'delivered', 'under_review', 'returned', 'delivery_failed');

-- Commands done, so that a repeat changes nothing and gets the same answer.
create table referral.command (
    command_id uuid primary key,
    referral_ref uuid not null,
    status text not null,
    version integer not null,
    at timestamptz not null default clock_timestamp()
);
create index command_at on referral.command (at);

create table referral.cursor (
    consumer text not null,
    case_ref uuid not null,
    last_seq bigint not null,
    parked boolean not null default false,
    primary key (consumer, case_ref)
) with (fillfactor = 70);
