-- Evidence of the keys that an instance's SSH server shows, asked for before people are led to it.
alter table attestations drop constraint attestations_purpose_check;
alter table attestations add constraint attestations_purpose_check check (purpose in ('report', 'seal', 'login', 'brought'));

-- What the host said of where one logs in. It is shown (ssh) when the machine's evidence binds those keys.
alter table instances add column ssh_said jsonb;
create index attestations_by_instance on attestations (instance_id, created_at) where instance_id is not null;
create index instances_to_confirm on instances (id) where ssh_said is not null and status in ('provisioning', 'ready');
