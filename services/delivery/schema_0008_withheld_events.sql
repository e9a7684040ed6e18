-- A subscriber that was never told of a referral does not hear of it by a notification either: once
-- its content is kept from leaving, the event keeps its number (numbers have no gaps) and names
-- nothing.

create function delivery.withheld(of_org text, ref uuid)
returns boolean
language sql stable
as $$
    select coalesce(bool_and(t.state = 'suppressed' and not t.doubtful), false)
      from delivery.task t
     where t.referral_ref = ref and t.to_org = of_org and t.kind = 'content'
$$;
comment on function delivery.withheld is
    'Whether everything of a referral was kept from this recipient; false for its sender.';

create or replace function delivery.subscription_events(
    of_id uuid, since bigint, until bigint, most integer)
returns table (number bigint, referral_ref uuid, version integer, at timestamptz)
language sql stable security definer set search_path = delivery, pg_temp
as $$
    select e.number,
           case when not delivery.withheld(s.org, e.referral_ref) then e.referral_ref end,
           e.version, e.at
      from subscription_event e join subscription s using (subscription_id)
     where e.subscription_id = of_id and e.number >= since and e.number <= until
     order by e.number limit most
$$;
