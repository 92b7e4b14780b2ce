-- A name is looked for before it is known who asks: one row of each tenant that had it, newest first.
create index instances_name on instances (name, created_at desc);
