-- Answer times: what was told of the waiting, and when the hub looks at the referral next. Null
-- where nothing is waited for any more. `closed` says once how the loop ended, for the rate.
alter table referral.referral
    add column stage text,
    add column next_at timestamptz,
    add column escalated_at timestamptz,
    add column closed text;
comment on column referral.referral.stage is 'Last told of this waiting: reminded, overdue, escalated.';
comment on column referral.referral.closed is
    'How the loop ended: answered, ended_by_sender, expired, revoked, or escalated and not ended by the hub.';
-- Referrals from before are looked at now, and find their own moment then.
update referral.referral set next_at = updated_at
 where status not in ('rejected', 'completed', 'not_completed', 'cancelled', 'revoked', 'expired',
                      'entered_in_error');
drop index referral.referral_due;
create index referral_next on referral.referral (next_at) where next_at is not null;
create index referral_overdue on referral.referral (from_org, updated_at)
    where stage in ('overdue', 'escalated');
