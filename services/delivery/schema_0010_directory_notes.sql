-- Notes of a changed service: the id it has in the directory, and its capacity. Both are in the
-- directory that every partner reads; `subject` is the entry, `status` its directory status.
alter table delivery.notification add column entry text, add column capacity text;
