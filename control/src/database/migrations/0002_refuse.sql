-- Ends a statement that could not take all it needs, and with it whatever it had taken. A transaction
-- that looks and rolls back does the same in three round trips.
create function refuse(reason text) returns boolean language plpgsql as $$
begin
  raise exception using errcode = 'CM001', message = reason;
end $$;
