-- Deliveries: a queue in lanes (case, recipient), the intent of every disclosure with its outcome,
-- and requests to erase. No content and no fact of the person: ids, codes, states, times.

create table delivery.task (
    task_id uuid primary key,
    seq bigint generated always as identity,
    kind text not null check (kind in ('content', 'update', 'erasure')),
    state text not null default 'queued'
        check (state in ('queued', 'claimed', 'held', 'done', 'suppressed', 'failed')),
    case_ref uuid not null,
    referral_ref uuid not null,
    to_org text not null,
    purpose text not null,
    source_org text not null,
    confidentiality text not null,
    version integer not null,
    again boolean not null default false,
    doubtful boolean not null default false,
    attempts integer not null default 0,
    next_at timestamptz not null default clock_timestamp(),
    claim uuid,
    claimed_until timestamptz,
    rule text,
    field_path text,
    confirmed boolean not null default false,
    created_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz
) with (fillfactor = 70);
create unique index task_once on delivery.task (referral_ref, to_org, kind, version)
    where kind <> 'erasure';
comment on column delivery.task.doubtful is 'The partner may hold it: search there before sending.';
comment on column delivery.task.again is 'Content was delivered before and is to be replaced.';
create index task_lane on delivery.task (case_ref, to_org, seq)
    where kind <> 'erasure' and state in ('queued', 'claimed', 'held');
create index task_ready on delivery.task (to_org, seq)
    where state = 'queued' and kind <> 'erasure';
create index task_erasing on delivery.task (to_org, seq)
    where state = 'queued' and kind = 'erasure';
create index task_claimed on delivery.task (to_org, claimed_until) where state = 'claimed';
create index task_unconfirmed on delivery.task (seq)
    where state in ('done', 'failed') and not confirmed;
create index task_held on delivery.task (seq) where state = 'held';

-- One row, locked while tasks are claimed, so that a partner's cap holds over all copies.
create table delivery.claiming (only_row boolean primary key default true check (only_row));
insert into delivery.claiming default values;

create table delivery.intent (
    grant_ref uuid primary key,
    task_id uuid,
    case_ref uuid not null,
    referral_ref uuid not null,
    to_org text not null,
    purpose text not null,
    source_org text not null,
    confidentiality text not null,
    data_categories text[] not null,
    legal_basis text not null,
    consent_ref uuid not null,
    consent_version bigint not null,
    policy_version text not null,
    deadline timestamptz not null,
    state text not null default 'open'
        check (state in ('open', 'disclosed', 'not_sent', 'unknown')),
    at timestamptz not null default clock_timestamp()
) with (fillfactor = 80);
create index intent_lane on delivery.intent (case_ref, to_org);
create index intent_task on delivery.intent (task_id) where state in ('open', 'unknown');
create index intent_open on delivery.intent (deadline) where state = 'open';

create table delivery.erasure (
    erasure_ref uuid primary key,
    case_ref uuid not null,
    referral_ref uuid not null,
    to_org text not null,
    source_org text not null,
    confidentiality text not null,
    state text not null default 'requested'
        check (state in ('requested', 'sent', 'acknowledged', 'overdue')),
    round integer not null default 1,
    data_categories text[] not null default '{}',
    task_id uuid,
    effect text,
    requested_at timestamptz not null default clock_timestamp(),
    due_at timestamptz not null,
    sent_at timestamptz,
    reported_at timestamptz,
    unique (referral_ref, to_org, data_categories)
);
comment on column delivery.erasure.data_categories is 'What is to go; none named: everything.';
comment on column delivery.erasure.task_id is 'The task that takes the present round there.';
create index erasure_task on delivery.erasure (task_id);
create index erasure_waiting on delivery.erasure (due_at) where state <> 'acknowledged';

create table delivery.alias (
    alias uuid primary key,
    referral_ref uuid not null,
    to_org text not null
);

create table delivery.poll (
    org text primary key,
    since timestamptz not null
);

create table delivery.cursor (
    consumer text not null,
    case_ref uuid not null,
    last_seq bigint not null,
    parked boolean not null default false,
    primary key (consumer, case_ref)
) with (fillfactor = 70);

-- Doors for the console (people act through the gateway): what waits for a person, and erasures.
create function delivery.held_tasks(most integer)
returns table (task_id uuid, kind text, case_ref uuid, referral_ref uuid, to_org text,
               attempts integer, rule text, field_path text, created_at timestamptz)
language sql stable security definer set search_path = delivery, pg_temp
as $$
    select t.task_id, t.kind, t.case_ref, t.referral_ref, t.to_org, t.attempts, t.rule,
           t.field_path, t.created_at
      from task t where t.state = 'held' order by t.seq limit most
$$;
create function delivery.mend(of_task uuid) returns boolean
language sql security definer set search_path = delivery, pg_temp
as $$
    with mended as (
        update task set state = 'queued', next_at = clock_timestamp(), attempts = 0
         where task_id = of_task and state = 'held' returning 1)
    select exists (select from mended)
$$;
-- The sweep then reports the failure to the referral, and so to the source.
create function delivery.give_up(of_task uuid) returns boolean
language sql security definer set search_path = delivery, pg_temp
as $$
    with ended as (
        update task set state = 'failed', rule = 'given-up', ended_at = clock_timestamp()
         where task_id = of_task and state = 'held' and kind <> 'erasure' returning 1)
    select exists (select from ended)
$$;
create function delivery.erasures(most integer)
returns table (erasure_ref uuid, case_ref uuid, referral_ref uuid, to_org text,
               data_categories text[], state text, effect text, requested_at timestamptz, due_at timestamptz, sent_at timestamptz,
               reported_at timestamptz)
language sql stable security definer set search_path = delivery, pg_temp
as $$
    select e.erasure_ref, e.case_ref, e.referral_ref, e.to_org, e.data_categories, e.state,
           e.effect, e.requested_at, e.due_at, e.sent_at, e.reported_at
      from erasure e order by e.state = 'acknowledged', e.requested_at desc limit most
$$;
grant execute on function delivery.held_tasks, delivery.mend, delivery.give_up, delivery.erasures
    to gateway;
