-- What runs and is not charged yet is summed at each admission; what is merely admitted need not be read for that.
create index meters_running on meters (account_id) where state = 'running';
