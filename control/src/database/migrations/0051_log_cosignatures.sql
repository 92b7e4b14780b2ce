-- What witnesses signed of the log's checkpoints: a line of a note each, beside the log's own.

create table log_cosignatures (
  origin     text not null,
  size       bigint not null,
  witness    text not null,                     -- its name and key id
  line       text not null check (line like '— %' and right(line, 1) = E'\n'),
  at         timestamptz not null default now(),
  primary key (origin, size, witness),
  foreign key (origin, size) references log_checkpoints
);
create trigger log_cosignatures_stay before update or delete or truncate on log_cosignatures
  for each statement execute function log_only_grows();
