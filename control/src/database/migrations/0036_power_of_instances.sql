-- An instance that was ready can be stopped and started: its status stays, and this says what its machine does.
alter table instances add column power text check (power in ('running', 'stopping', 'stopped', 'starting'));
update instances set power = case when ssh is null then 'starting' else 'running' end where status = 'ready';
