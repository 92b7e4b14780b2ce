-- Models of a tenant's own: where they are, and the key for them, sealed by the vault and gone with the instance.
alter table instances
  add column custom_inference_endpoint text,
  add column custom_inference_model_name text,
  add column custom_inference_key_sealed bytea,
  add constraint instances_custom check ((inference_mode = 'custom') = (custom_inference_endpoint is not null)
    and (custom_inference_endpoint is null) = (custom_inference_model_name is null)
    and (custom_inference_key_sealed is null or custom_inference_endpoint is not null));

-- What calls came to that are too old to be kept one by one (`retention.inferenceCallDays`), by days of UTC.
create table inference_past (
  instance_id   text not null references instances (id),
  day           date not null,
  calls         bigint not null,
  input_tokens  bigint not null,
  output_tokens bigint not null,
  cost_micros   bigint not null,
  primary key (instance_id, day)
);
create index inference_calls_old on inference_calls (ended_at) where ended_at is not null;
