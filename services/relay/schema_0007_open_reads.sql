-- Events of a topic without persons after these positions, for who fills a gap in it: nothing here is
-- gated, so there is no consent to read again.
create function bus.read_open(of_topic text, keys uuid[], after bigint[])
returns table (case_ref uuid, seq bigint, schema_id integer, event_id uuid, type text,
               purpose text, body bytea, facts bytea, stats_facts bytea)
language plpgsql stable security definer set search_path = bus, pg_temp
as $$
#variable_conflict use_column
begin
    if of_topic <> 'cauce.directory' or cardinality(keys) > 64 then
        raise exception 'bus.read_open: not an open topic, or more than 64 keys'
            using errcode = '42501';
    end if;
    return query
        select e.key, e.seq, e.schema_id, e.event_id, e.type, e.purpose, e.body,
               null::bytea, null::bytea
          from unnest(keys, after) u(k, a)
         cross join lateral (
            select * from event x where x.key = u.k and x.seq > u.a and x.topic = of_topic
             order by x.seq limit 500) e
         order by e.key, e.seq;
end $$;
grant execute on function bus.read_open to delivery;
