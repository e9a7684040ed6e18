-- Which organisations have open referrals to which services of the directory: they are told when
-- such a service changes. A door for delivery; routing data only.
create index referral_entry on referral.referral (directory_entry_ref, from_org)
    where status not in ('rejected', 'completed', 'not_completed', 'cancelled', 'revoked',
                         'expired', 'entered_in_error');
create function referral.waiting_on(entries uuid[]) returns table (entry_ref uuid, org text)
language sql stable security definer set search_path = referral, pg_temp
as $$
    select distinct r.directory_entry_ref, r.from_org
      from referral r
     where r.directory_entry_ref = any (entries)
       and r.status not in ('rejected', 'completed', 'not_completed', 'cancelled', 'revoked',
                            'expired', 'entered_in_error')
     order by 1, 2
$$;
grant execute on function referral.waiting_on to delivery;
