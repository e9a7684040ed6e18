-- Events about services and about counts: no person, no consent to ask.
insert into bus.type (type, topic, gated, owners) values
    ('directory.entry_changed', 'cauce.directory', false, '{gateway}'),
    ('indicator.reported', 'cauce.indicator', false, '{gateway}');

-- Rows of topics kept shorter than the day's partition, which lives as long as the longest.
create function bus.forget(topics text[], of_day date) returns bigint
language sql security definer set search_path = bus, pg_temp
as $$
    with gone as (
        delete from bus.event e where e.day = of_day and e.topic = any (topics)
           and not exists (select from bus.pending p where p.id = e.id)
        returning 1)
    select count(*) from gone
$$;
grant execute on function bus.forget to relay;
