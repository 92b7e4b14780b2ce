-- Guest images are entries of the transparency log beside proofs: who approves an image sees that it is the one which
-- everybody was shown, and an operator who starts one machine with another image leaves that in the log.

alter table proof_leaves alter column machine_id drop not null;
alter table proof_leaves add column image_sha256 text unique check (image_sha256 ~ '^[0-9a-f]{64}$');
alter table proof_leaves add constraint proof_leaves_of_one check (num_nonnulls(machine_id, image_sha256) = 1);

-- The entry is what evidence/log/entry.ts computes: RFC 8785 of one member, which is this text.
create function log_guest_image(sha256_hex text) returns void language plpgsql as $$
declare
  bytes bytea := convert_to('{"guest_image":"sha256:' || sha256_hex || '"}', 'utf8');
begin
  if exists (select from proof_leaves where image_sha256 = sha256_hex) then return; end if;
  -- Whoever logs the same one at once waits here, and the look after it sees theirs.
  perform from proof_log for update;
  if exists (select from proof_leaves where image_sha256 = sha256_hex) then return; end if;
  with place as (update proof_log set size = size + 1 returning size - 1 as position)
  insert into proof_leaves (position, image_sha256, entry, leaf_hash)
  select position, sha256_hex, bytes, sha256('\x00'::bytea || bytes) from place;
end $$;

create function image_is_logged() returns trigger language plpgsql as $$
begin
  perform log_guest_image(new.image_sha256);
  return null;
end $$;

-- Nothing names an image that is not in the log. At the end of its transaction, where nothing more is locked after the log's row:
-- the statement that ends a session locks that row last as well.
create constraint trigger workloads_image_is_logged after insert or update of image_sha256 on workloads
  deferrable initially deferred for each row when (new.image_sha256 is not null) execute function image_is_logged();
create constraint trigger workload_launches_image_is_logged after insert or update of image_sha256 on workload_launches
  deferrable initially deferred for each row execute function image_is_logged();
create constraint trigger instances_image_is_logged after insert or update of image_sha256 on instances
  deferrable initially deferred for each row execute function image_is_logged();
create constraint trigger instance_spares_image_is_logged after insert or update of image_sha256 on instance_spares
  deferrable initially deferred for each row execute function image_is_logged();

-- What was in use before.
select log_guest_image(sha) from (
  select image_sha256 as sha from workloads where image_sha256 is not null
  union select image_sha256 from workload_launches
  union select image_sha256 from instances
  union select image_sha256 from instance_spares
  order by sha) used;
