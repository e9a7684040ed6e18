-- Subscriptions: how each stands, and its own log of events, numbered without gaps in the
-- transaction of the event. Ids, codes, times: no content and no fact of the person.

create table delivery.subscription (
    subscription_id uuid primary key,
    org text not null,
    version integer not null,
    state text not null default 'requested'
        check (state in ('requested', 'active', 'error', 'off')),
    fault text,
    last_number bigint not null default 0,
    sent_number bigint not null default 0,
    attempts integer not null default 0,
    next_at timestamptz not null default clock_timestamp(),
    heard_at timestamptz,
    failing_since timestamptz,
    check (sent_number <= last_number)
) with (fillfactor = 50);

create table delivery.subscription_event (
    subscription_id uuid not null,
    number bigint not null,
    referral_ref uuid not null,
    version integer not null,
    at timestamptz not null,
    primary key (subscription_id, number)
);
comment on column delivery.subscription_event.at is 'As the subscriber may know it (decision 0009).';
create index subscription_event_at on delivery.subscription_event (at);

-- Doors for the gateway: `$status` and `$events`.
create function delivery.subscription_standings(ids uuid[])
returns table (subscription_id uuid, version integer, state text, fault text, last_number bigint)
language sql stable security definer set search_path = delivery, pg_temp
as $$
    select s.subscription_id, s.version, s.state, s.fault, s.last_number
      from subscription s where s.subscription_id = any(ids)
$$;
create function delivery.subscription_events(of_id uuid, since bigint, until bigint, most integer)
returns table (number bigint, referral_ref uuid, version integer, at timestamptz)
language sql stable security definer set search_path = delivery, pg_temp
as $$
    select e.number, e.referral_ref, e.version, e.at
      from subscription_event e
     where e.subscription_id = of_id and e.number >= since and e.number <= until
     order by e.number limit most
$$;
grant execute on function delivery.subscription_standings, delivery.subscription_events
    to gateway;
