-- A recipient that reads here finds what it has yet to read anew, oldest first; what it has read
-- since is known by its intents.

alter table delivery.rectified add column case_ref uuid;
create index rectified_told on delivery.rectified (to_org, at, referral_ref) where result = 'told';
