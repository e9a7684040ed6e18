-- Subscriptions of partners (FHIR rest-hook, id-only). How each stands is delivery's to know.
-- The endpoint is an address of the partner's own system; its free text (`reason`) is not kept.

create table gateway.subscription (
    subscription_id uuid primary key,
    org text not null,
    version integer not null default 1,
    side text not null check (side in ('from', 'to')),
    statuses text[] not null default '{}',
    shown_statuses text[] not null default '{}',
    endpoint text not null check (length(endpoint) <= 2000),
    heartbeat integer not null check (heartbeat between 10 and 86400),
    most integer not null check (most between 1 and 50),
    ends timestamptz,
    active boolean not null default true,
    key_mac bytea,
    written_at timestamptz not null default clock_timestamp(),
    deleted_at timestamptz
);
comment on column gateway.subscription.statuses is 'Of a referral; shown_statuses: the same of a Task.';
comment on column gateway.subscription.key_mac is 'Of the Idempotency-Key it was made with.';
create index subscription_own on gateway.subscription (org, subscription_id)
    where deleted_at is null;
create unique index subscription_once on gateway.subscription (org, key_mac)
    where key_mac is not null;

create function gateway.subscriptions()
returns table (subscription_id uuid, org text, version integer, side text, statuses text[],
               endpoint text, heartbeat integer, most integer, ends timestamptz, active boolean,
               written_at timestamptz)
language sql stable security definer set search_path = gateway, pg_temp
as $$
    select s.subscription_id, s.org, s.version, s.side, s.statuses, s.endpoint, s.heartbeat,
           s.most, s.ends, s.active, s.written_at
      from subscription s where s.deleted_at is null
$$;
grant execute on function gateway.subscriptions() to delivery;

-- A person by the id under which an organisation knows them (Patient/_search, AuditEvent).
create index alias_person on gateway.alias (target, org) where kind = 'patient';

-- Abort Tasks: by which a sender asked that a referral be ended. How each stands follows from the
-- referral. `key_mac` is of the sender's own identifier, `digest` of what it asked.
create table gateway.abort (
    abort_id uuid primary key,
    number bigint generated always as identity,
    org text not null,
    referral_ref uuid not null,
    key_mac bytea not null,
    digest bytea not null,
    reason_code text not null check (reason_code ~ '^[a-z_]{2,60}$'),
    at timestamptz not null default clock_timestamp(),
    unique (org, key_mac)
);
create index abort_referral on gateway.abort (referral_ref, number);
