-- The exchange: every event of the cell, its order within its key, and what Kafka has not yet
-- acknowledged. Owner: bus, which nobody logs in as. Services reach it through functions only; the
-- right to emit an event type is the right to execute one wrapper (put_<owner>).

create table bus.type (
    type text primary key,
    topic text not null,
    gated boolean not null,
    owners text[] not null
);
comment on table bus.type is 'Event types as schemas/*.avsc declare them; a test compares the two.';
insert into bus.type (type, topic, gated, owners) values
    ('case.opened', 'cauce.case', true, '{gateway}'),
    ('consent.effect_reported', 'cauce.case', false, '{delivery}'),
    ('consent.expired', 'cauce.case', false, '{consent}'),
    ('consent.given', 'cauce.case', true, '{consent}'),
    ('consent.withdrawn', 'cauce.case', false, '{consent}'),
    ('dead.letter', 'cauce.dead', false, '{consent,delivery,referral,vault}'),
    ('disclosure.made', 'cauce.case', false, '{delivery}'),
    ('disclosure.refused', 'cauce.case', false, '{delivery}'),
    ('referral.completed', 'cauce.case', true, '{referral}'),
    ('referral.delivered', 'cauce.case', false, '{referral}'),
    ('referral.delivery_failed', 'cauce.case', false, '{referral}'),
    ('referral.requested', 'cauce.case', true, '{gateway}'),
    ('referral.revoked', 'cauce.case', false, '{referral}'),
    ('referral.sent', 'cauce.case', true, '{referral}'),
    ('referral.status_changed', 'cauce.case', true, '{referral}');

create table bus.counter (
    topic text not null,
    key uuid not null,
    last_seq bigint not null,
    primary key (key, topic)
) with (fillfactor = 70);

create sequence bus.event_number;
create table bus.event (
    id bigint not null default nextval('bus.event_number'),
    day date not null default (clock_timestamp() at time zone 'utc')::date,
    event_id uuid not null,
    type text not null,
    topic text not null,
    key uuid not null,
    seq bigint not null,
    schema_id integer not null,
    purpose text,
    body bytea not null,
    facts bytea,
    stats_facts bytea,
    at timestamptz not null default clock_timestamp(),
    primary key (id, day),
    unique (key, seq, topic, day)
) partition by range (day);
comment on column bus.event.body is 'Avro datum without position and facts; facts are sealed bytes.';

create table bus.pending (
    id bigint primary key,
    day date not null,
    at timestamptz not null default clock_timestamp()
);
comment on table bus.pending is 'Events that Kafka has not acknowledged; the relay takes the lowest.';

-- Partitions by day. Made apart and attached: "create … partition of" would block every put.
create function bus.make_partitions(first_day date, last_day date) returns integer
language plpgsql security definer set search_path = bus, pg_temp
as $$
declare
    wanted date;
    name text;
    made integer := 0;
begin
    for wanted in select generate_series(first_day, last_day, interval '1 day')::date loop
        name := 'event_' || to_char(wanted, 'YYYYMMDD');
        if to_regclass('bus.' || name) is null then
            execute format(
                'create table bus.%I (like bus.event including defaults including indexes)', name);
            execute format('alter table bus.event attach partition bus.%I for values from (%L) to (%L)',
                           name, wanted, wanted + 1);
            made := made + 1;
        end if;
    end loop;
    return made;
end $$;
grant execute on function bus.make_partitions to relay;
select bus.make_partitions(
    (clock_timestamp() at time zone 'utc')::date - 1, (clock_timestamp() at time zone 'utc')::date + 2);

-- Put events in order; answers each one's position in its key, without gaps. Three statements, in
-- this order: counters (the lock, sorted), the consent gate (under the lock), the rows. An event
-- whose consent is gone is stored without facts; it is never refused for that.
create function bus.put_as(
    who text, ids uuid[], types text[], keys uuid[], schemas integer[], purposes text[],
    bodies bytea[], all_facts bytea[], all_stats bytea[]
) returns bigint[]
language plpgsql security definer set search_path = bus, pg_temp
as $$
declare
    n integer := cardinality(ids);
    bad text;
    topics text[];
    counted_keys uuid[];
    counted_topics text[];
    lasts bigint[];
    allowed boolean[];
    allowed_stats boolean[];
    positions bigint[];
begin
    if n > 64 or n <> all (array[cardinality(types), cardinality(keys), cardinality(schemas),
            cardinality(purposes), cardinality(bodies), cardinality(all_facts),
            cardinality(all_stats)]) then
        raise exception 'bus.put: at most 64 events, arrays of one length' using errcode = '42501';
    end if;
    select string_agg(distinct coalesce(u.t, '?'), ' ') into bad
      from unnest(types) u(t) left join type b on b.type = u.t and who = any (b.owners)
     where b.type is null;
    if bad is not null then
        raise exception 'bus.put: % may not emit %', who, bad using errcode = '42501';
    end if;
    select array_agg(b.topic order by u.o) into topics
      from unnest(types) with ordinality u(t, o) join type b on b.type = u.t;
    with taken as (
        insert into counter as c (topic, key, last_seq)
        select t, k, count(*) from unnest(topics, keys) u(t, k) group by t, k order by k, t
        on conflict (key, topic) do update set last_seq = c.last_seq + excluded.last_seq
        returning c.topic, c.key, c.last_seq)
    select array_agg(topic), array_agg(key), array_agg(last_seq)
      into counted_topics, counted_keys, lasts from taken;
    -- Asked only for what there is to hold back: no case, no permit.
    allowed := consent.gate(
        array(select case when f is not null then k end
                from unnest(keys, all_facts) with ordinality u(k, f, o) order by o), purposes);
    if exists (select from unnest(all_stats) s where s is not null) then
        allowed_stats := consent.gate(keys, array_fill('statistics'::text, array[n]));
    end if;
    with placed as (
        select u.*, b.gated, b.topic,
               c.last - count(*) over (partition by u.k, b.topic)
                   + row_number() over (partition by u.k, b.topic order by u.o) seq
          from unnest(ids, types, keys, schemas, purposes, bodies, all_facts, all_stats,
                      allowed, allowed_stats)
               with ordinality u(i, t, k, s, p, body, facts, stats, ok, ok_stats, o)
          join type b on b.type = u.t
          join unnest(counted_topics, counted_keys, lasts) c(topic, key, last)
            on c.key = u.k and c.topic = b.topic),
    stored as (
        insert into event (event_id, type, topic, key, seq, schema_id, purpose, body, facts,
                           stats_facts)
        select i, t, topic, k, seq, s, p, body, case when gated and ok then facts end,
               case when gated and ok_stats then stats end
          from placed order by o
        returning id, day),
    queued as (insert into pending (id, day) select id, day from stored)
    select array_agg(seq order by o) into positions from placed;
    perform pg_notify('bus', '');
    return positions;
end $$;

do $$
declare
    who text;
begin
    foreach who in array array['gateway', 'consent', 'referral', 'delivery', 'vault'] loop
        execute format($f$
            create function bus.put_%1$I(
                ids uuid[], types text[], keys uuid[], schemas integer[], purposes text[],
                bodies bytea[], all_facts bytea[], all_stats bytea[]) returns bigint[]
            language sql security definer set search_path = bus, pg_temp
            as $b$ select bus.put_as(%1$L, ids, types, keys, schemas, purposes, bodies, all_facts,
                                     all_stats) $b$ $f$, who);
        execute format('grant execute on function bus.put_%1$I to %1$I', who);
    end loop;
end $$;

-- The one name that services call; runs the caller's own wrapper.
create function bus.put(
    ids uuid[], types text[], keys uuid[], schemas integer[], purposes text[], bodies bytea[],
    all_facts bytea[], all_stats bytea[]
) returns bigint[]
language plpgsql security invoker
as $$
declare
    positions bigint[];
begin
    execute format('select bus.put_%I($1, $2, $3, $4, $5, $6, $7, $8)', current_user)
       into positions using ids, types, keys, schemas, purposes, bodies, all_facts, all_stats;
    return positions;
end $$;
grant execute on function bus.put to gateway, consent, referral, delivery, vault;

-- Events of these cases after these positions, oldest first, at most 500 a case; facts whose
-- consent is gone by now are left out.
create function bus.read(cases uuid[], after bigint[])
returns table (case_ref uuid, seq bigint, schema_id integer, event_id uuid, type text,
               purpose text, body bytea, facts bytea, stats_facts bytea)
language plpgsql security definer set search_path = bus, pg_temp
as $$
#variable_conflict use_column
begin
    if cardinality(cases) > 64 then
        raise exception 'bus.read: more than 64 cases' using errcode = '42501';
    end if;
    return query
        with found as (
            select e.* from unnest(cases, after) u(c, a)
             cross join lateral (
                select * from event e where e.key = u.c and e.seq > u.a and e.topic = 'cauce.case'
                 order by e.seq limit 500) e),
        gate as (
            select g.id, g.ok, g.ok_stats
              from (select array_agg(f.id order by f.id) ids, array_agg(f.key order by f.id) cs,
                           array_agg(f.purpose order by f.id) ps, count(*)::int n
                      from found f where f.facts is not null or f.stats_facts is not null) a
             cross join lateral unnest(
                a.ids, consent.gate(a.cs, a.ps),
                consent.gate(a.cs, array_fill('statistics'::text, array[a.n]))) g(id, ok, ok_stats))
        select f.key, f.seq, f.schema_id, f.event_id, f.type, f.purpose, f.body,
               case when g.ok then f.facts end, case when g.ok_stats then f.stats_facts end
          from found f left join gate g on g.id = f.id order by f.key, f.seq;
end $$;
grant execute on function bus.read to gateway, consent, referral, delivery, vault;

-- For the relay: the lowest pending events, with consent read again.
create function bus.take(most integer)
returns table (id bigint, topic text, key uuid, seq bigint, event_id uuid, type text,
               schema_id integer, body bytea, facts bytea, stats_facts bytea, at timestamptz)
language plpgsql security definer set search_path = bus, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        with found as (
            select e.* from (select p.id, p.day from pending p order by p.id limit most) q
              join event e on e.id = q.id and e.day = q.day),
        gate as (
            select g.id, g.ok, g.ok_stats
              from (select array_agg(f.id order by f.id) ids, array_agg(f.key order by f.id) cs,
                           array_agg(case when f.stats_facts is not null then f.key end
                                     order by f.id) counted,
                           array_agg(f.purpose order by f.id) ps, count(*)::int n
                      from found f where f.facts is not null or f.stats_facts is not null) a
             cross join lateral unnest(
                a.ids, consent.gate(a.cs, a.ps),
                consent.gate(a.counted, array_fill('statistics'::text, array[a.n])))
                g(id, ok, ok_stats))
        select f.id, f.topic, f.key, f.seq, f.event_id, f.type, f.schema_id, f.body,
               case when g.ok then f.facts end, case when g.ok_stats then f.stats_facts end, f.at
          from found f left join gate g on g.id = f.id order by f.id;
end $$;
grant execute on function bus.take to relay;

-- For the relay: Kafka has these.
create function bus.acknowledge(ids bigint[]) returns void
language sql security definer set search_path = bus, pg_temp
as $$ delete from bus.pending p using unnest(ids) u(i) where p.id = u.i $$;
grant execute on function bus.acknowledge to relay;

-- For the console: what happened in a case, routing data only.
create function bus.timeline(of_case uuid)
returns table (seq bigint, event_id uuid, type text, at timestamptz, schema_id integer,
               purpose text, has_facts boolean, published boolean)
language sql security definer set search_path = bus, pg_temp
as $$
    select e.seq, e.event_id, e.type, e.at, e.schema_id, e.purpose, e.facts is not null,
           not exists (select from bus.pending p where p.id = e.id)
      from bus.event e where e.key = of_case and e.topic = 'cauce.case' order by e.seq
$$;
grant execute on function bus.timeline to gateway;

-- For the console: what consumers set aside, newest first. The body is the pointer's own datum.
create function bus.dead_letters(most integer)
returns table (id bigint, event_id uuid, source_event_id uuid, at timestamptz, schema_id integer,
               seq bigint, body bytea)
language sql security definer set search_path = bus, pg_temp
as $$
    select e.id, e.event_id, e.key, e.at, e.schema_id, e.seq, e.body
      from bus.event e where e.topic = 'cauce.dead' order by e.id desc limit most
$$;
grant execute on function bus.dead_letters to gateway;

-- For the console: the case of an event that was set aside (a scan: a person waits, no service).
create function bus.case_of(of_event uuid) returns uuid
language sql stable security definer set search_path = bus, pg_temp
as $$ select e.key from bus.event e where e.event_id = of_event and e.topic = 'cauce.case' limit 1 $$;
grant execute on function bus.case_of to gateway;

-- For the console: what each topic has been given so far.
create function bus.topics()
returns table (topic text, keys bigint, events numeric, pending bigint, oldest_pending timestamptz)
language sql stable security definer set search_path = bus, pg_temp
as $$
    select t.topic, coalesce(c.keys, 0), coalesce(c.events, 0), coalesce(p.number, 0), p.oldest
      from (select distinct b.topic from bus.type b) t
      left join (select c.topic, count(*) keys, sum(c.last_seq) events
                   from bus.counter c group by c.topic) c on c.topic = t.topic
      left join (select e.topic, count(*) number, min(q.at) oldest
                   from bus.pending q join bus.event e on e.id = q.id and e.day = q.day
                  group by e.topic) p on p.topic = t.topic
     order by t.topic
$$;
grant execute on function bus.topics to gateway;

-- For metrics: how many events wait for Kafka and since when.
create function bus.waiting() returns table (number bigint, oldest timestamptz)
language sql security definer set search_path = bus, pg_temp
as $$ select count(*), min(p.at) from bus.pending p $$;
grant execute on function bus.waiting to relay;
