-- A case is changed, closed and opened again by its organisation, each time on the version that it
-- saw. One that was entered in error stays so, and its number is free for another.

alter table gateway.case_file
    add column version integer not null default 1 check (version > 0),
    add column closure_reason text,
    add column last_attempt uuid;
alter table gateway.case_file drop constraint case_file_status_check;
alter table gateway.case_file
    add constraint case_file_status_check check (status in ('open', 'closed', 'entered_in_error'));
update gateway.case_file set closure_reason = 'unknown' where status = 'closed';
alter table gateway.case_file
    add constraint case_closed_for_a_reason
        check ((status = 'closed') = (closure_reason is not null));
comment on column gateway.case_file.last_attempt is
    'The last change of its content, as the vault knows it.';
