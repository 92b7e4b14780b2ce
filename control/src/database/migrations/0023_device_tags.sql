-- Devices with a tag, also among a million: a list of them, and a rollout that goes by it.
create index devices_tags on devices using gin (tags);
