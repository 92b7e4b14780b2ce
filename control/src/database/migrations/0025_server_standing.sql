-- What the journal was told last of how a server is: what differs is told when it is found.
alter table servers add column health_told text not null default 'unknown';
alter table servers add column health_told_at timestamptz not null default '-infinity';
alter table servers add column online_told boolean not null default false;
update servers set health_told = health, online_told = coalesce(last_seen > now() - interval '75 seconds', false);
