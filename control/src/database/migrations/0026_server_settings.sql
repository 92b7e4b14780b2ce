-- How the agent of a server is to behave, where its owner says other than it was started with.
alter table servers add column settings jsonb not null default '{}';
