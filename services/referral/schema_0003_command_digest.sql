-- What was asked under a command's id, as a keyed digest: the same key with another content is
-- refused. Null where nobody compares (the hub's own commands, those from before).
alter table referral.command add column digest bytea;
