-- A case has an id of its own at its organisation, as a referral has.

alter table gateway.alias drop constraint if exists alias_kind_check;
alter table gateway.alias add constraint alias_kind_check
    check (kind in ('task', 'service_request', 'consent', 'patient', 'case'));
