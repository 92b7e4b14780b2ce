-- The job of the queue by which a conversion was taken: whoever takes the work of a dead process back ends it,
-- since jobs of one party that count as under way hold up the party's others.
alter table conversions add column job jsonb;
