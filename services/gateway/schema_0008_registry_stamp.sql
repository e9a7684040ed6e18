-- Every copy of every service asks each second whether the registry changed: a number that differs
-- whenever a partner or an entry has another version, so that the records are read only then.
create function gateway.registry_stamp() returns bigint
language sql stable security definer set search_path = gateway, pg_temp
as $$
    select coalesce((select bit_xor(hashtextextended(p.org || ' ' || p.version, 0))
                       from gateway.partner p where p.record is not null), 0)
         # coalesce((select bit_xor(hashtextextended(e.id || ' ' || e.version, 1))
                       from gateway.entry e), 0)
$$;
grant execute on function gateway.registry_stamp() to consent, referral, delivery, relay, custody;
