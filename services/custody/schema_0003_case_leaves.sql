-- A case that its organisation changed, closed or opened again has its leaf too.
alter table custody.leaf drop constraint leaf_kind_check;
alter table custody.leaf add constraint leaf_kind_check check (kind in (
    'accepted', 'refused', 'disclosure_intent', 'disclosed', 'not_sent', 'unknown',
    'suppressed', 'withdrawn', 'expired', 'erasure_requested', 'erasure_reported',
    'key_destroyed', 'epoch_destroyed', 'identity_opened', 'notice_due', 'notice_closed',
    'partner_changed', 'staff_changed', 'replayed', 'given_up', 'case_updated', 'case_closed'));
