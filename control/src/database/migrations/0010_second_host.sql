-- Hosts on which a machine that never ran could not be started: it is not given to them again.
alter table machines add column failed_hosts text[] not null default '{}';
