-- Partners, staff, submissions, cases, and the ids by which each organisation knows our things.
-- No identity: what partners call their people, cases and messages stands here only as HMAC.

create table gateway.partner (
    org text primary key check (org ~ '^[a-z][a-z0-9-]{2,31}$'),
    version integer not null default 0,
    record jsonb,
    pending jsonb,
    proposed_by text,
    activated_by text,
    check (record is not null or pending is not null)
);

create table gateway.staff (
    staff_id text primary key check (staff_id ~ '^[a-z][a-z0-9.-]{2,63}$'),
    organisation text not null check (organisation ~ '^[a-z][a-z0-9-]{2,31}$'),
    roles text[] not null check (cardinality(roles) > 0),
    jwk jsonb not null,
    status text not null default 'active' check (status in ('active', 'disabled')),
    added_by text,
    added_at timestamptz not null default clock_timestamp()
);

create table gateway.jti (
    party text not null,
    mac bytea not null,
    expires timestamptz not null,
    primary key (party, mac)
);
create index jti_expires on gateway.jti (expires);

create table gateway.rate (
    org text not null,
    minute bigint not null,
    taken integer not null,
    primary key (org, minute)
) with (fillfactor = 50);

-- A submission is reserved before anything is written elsewhere and accepted in the transaction of
-- its effects. `attempt` tells a frozen attempt that it has been overtaken.
create table gateway.submission (
    org text not null,
    key_mac bytea not null,
    digest bytea not null,
    attempt uuid not null unique,
    status text not null check (status in ('running', 'accepted')),
    started_at timestamptz not null default clock_timestamp(),
    kept boolean not null default false,
    answer bytea,
    referral_ref uuid,
    primary key (org, key_mac),
    check ((status = 'accepted') = (answer is not null))
) with (fillfactor = 70);
create index submission_running on gateway.submission (started_at) where status = 'running';
create index submission_unkept on gateway.submission (attempt)
    where status = 'accepted' and not kept;

-- Attempts that will never be accepted; the vault has yet to forget what they put.
create table gateway.abandoned (
    attempt uuid primary key,
    since timestamptz not null default clock_timestamp()
);

create table gateway.refusal (
    refusal_ref uuid primary key,
    org text not null,
    digest bytea not null,
    reasons text[] not null,
    at timestamptz not null default clock_timestamp()
);
create index refusal_at on gateway.refusal (at);

create table gateway.case_file (
    case_ref uuid primary key,
    org text not null,
    subject_ref uuid not null,
    requisition_mac bytea,
    status text not null default 'open' check (status in ('open', 'closed')),
    opened_at timestamptz not null
);
create unique index case_requisition on gateway.case_file (org, requisition_mac)
    where requisition_mac is not null;
create index case_subject on gateway.case_file (org, subject_ref) where status = 'open';
create unique index case_unnamed on gateway.case_file (org, subject_ref)
    where status = 'open' and requisition_mac is null;

create table gateway.referral (
    referral_ref uuid primary key,
    case_ref uuid not null,
    consent_ref uuid not null,
    subject_ref uuid not null,
    from_org text not null,
    to_org text not null,
    accepted_at timestamptz not null
);
create index referral_case on gateway.referral (case_ref);
create index referral_accepted on gateway.referral (accepted_at);

-- What an organisation calls our things: random to it, its own, never shared with another.
create table gateway.alias (
    alias uuid not null,
    org text not null,
    kind text not null check (kind in ('task', 'service_request', 'consent', 'patient')),
    referral_ref uuid not null,
    target uuid not null,
    primary key (alias, org)
);

create function gateway.partners() returns table (org text, version integer, record jsonb)
language sql stable security definer set search_path = gateway, pg_temp
as $$ select p.org, p.version, p.record from gateway.partner p where p.record is not null $$;
grant execute on function gateway.partners() to consent, referral, delivery, relay, custody;

-- Take `wanted` requests of this minute; answers how many were taken before.
create function gateway.take(of_org text, of_minute bigint, wanted integer) returns integer
language sql set search_path = gateway, pg_temp
as $$
    insert into gateway.rate as r values (of_org, of_minute, wanted)
    on conflict (org, minute) do update set taken = r.taken + wanted
    returning taken - wanted
$$;

-- Opening an identity outside a grant: asked by one person, approved by one of another
-- organisation, read by the first. The identity itself is never here.
create table gateway.opening (
    opening_ref uuid primary key,
    case_ref uuid not null,
    reason_code text not null check (reason_code ~ '^[a-z_]{3,40}$'),
    requested_by text not null,
    requested_org text not null,
    requested_at timestamptz not null,
    approved_by text,
    approved_org text,
    approved_at timestamptz,
    leaf_ref uuid,
    check ((approved_by is null) = (approved_at is null)),
    check ((approved_by is null) = (approved_org is null)),
    check (approved_by <> requested_by and approved_org <> requested_org),
    check (leaf_ref is null or approved_by is not null)
);
create index opening_at on gateway.opening (requested_at);

-- What a person must yet be told: data left on vital interest, or their identity was opened.
create table gateway.notice (
    notice_ref uuid primary key,
    cause text not null check (cause in ('emergency', 'identity_opened')),
    case_ref uuid not null,
    about_ref uuid not null unique,
    due_since timestamptz not null,
    closed_by text,
    outcome text check (outcome in ('told', 'unreachable', 'unsafe')),
    closed_at timestamptz,
    check ((closed_by is null) = (closed_at is null)),
    check ((outcome is null) = (closed_at is null))
);
create index notice_due on gateway.notice (due_since) where closed_at is null;
