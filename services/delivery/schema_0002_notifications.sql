-- Notes of changes: what a party is told by webhook, in order for each thing it is told about.
-- Ids, codes, times: no content and no fact of the person. And whose endpoint said that it is gone.

create table delivery.notification (
    notification_id uuid primary key,
    seq bigint generated always as identity,
    org text not null,
    channel text not null check (channel = 'webhook'),
    side text not null check (side in ('from', 'to')),
    type text not null,
    subject uuid not null,
    version integer not null,
    status text not null,
    stage text,
    owed_by text,
    at timestamptz not null,
    state text not null default 'queued' check (state in ('queued', 'done', 'dropped', 'failed')),
    rule text,
    attempts integer not null default 0,
    next_at timestamptz not null default clock_timestamp(),
    created_at timestamptz not null default clock_timestamp(),
    done_at timestamptz
) with (fillfactor = 70);
comment on column delivery.notification.notification_id is 'The idempotency key at the receiver.';
comment on column delivery.notification.at is 'As the receiver may know it (decision 0009).';
comment on column delivery.notification.side is 'Whether the receiver sent the referral or got it.';
create index notification_waiting on delivery.notification (org, seq) where state = 'queued';
create index notification_order on delivery.notification (subject, org, seq)
    where state = 'queued';
create index notification_done on delivery.notification (done_at) where state <> 'queued';

create table delivery.webhook_gone (
    org text primary key,
    version integer not null,
    at timestamptz not null default clock_timestamp()
);
comment on column delivery.webhook_gone.version is
    'Of the partner record whose endpoint is gone: a newer record is tried again.';
