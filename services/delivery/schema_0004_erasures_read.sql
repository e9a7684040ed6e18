-- A recipient reads its requests to erase, oldest first.

create index erasure_of on delivery.erasure (to_org, requested_at, erasure_ref);
