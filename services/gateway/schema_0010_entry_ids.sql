-- Under which id everybody knows an entry of the directory, also one that was taken away. A door for
-- delivery.
create function gateway.entry_ids(refs uuid[]) returns table (entry_ref uuid, id text)
language sql stable security definer set search_path = gateway, pg_temp
as $$
    select e.entry_ref, e.id from entry e where e.entry_ref = any (refs)
$$;
grant execute on function gateway.entry_ids to delivery;
