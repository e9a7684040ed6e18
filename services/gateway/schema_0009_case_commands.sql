-- A case is closed and opened again by its organisation, each time on the version that it saw.

alter table gateway.case_file
    add column version integer not null default 1 check (version > 0),
    add column closure_reason text,
    add column last_command bytea,
    add constraint case_closed_for_a_reason
        check ((status = 'closed') = (closure_reason is not null));
