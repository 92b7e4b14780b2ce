-- What instances have sent to the world in their lives, as their hosts count it. No row: nobody counts it.

create table instance_egress (
  instance_id text primary key references instances (id),
  sent_bytes  bigint not null check (sent_bytes >= 0),
  -- By our clock, when the host was asked.
  observed_at timestamptz not null,
  -- Since when it is over its limit. It is for life.
  blocked_at  timestamptz,
  -- Counts what is shown of it.
  version     integer not null default 1
);

-- Those that were made before machines had limits have theirs from their next start.
update machines m set spec = jsonb_set(m.spec, '{kept,egressLimitBytes}', to_jsonb(i.egress_limit_bytes))
from instances i where i.machine_id = m.id and m.spec ? 'kept';
