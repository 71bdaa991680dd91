"""What the Olist import asks of DuckDB: the laws it holds, the tables it builds, the counts it reports."""

from __future__ import annotations

FILES = {
    "orders": ("olist_orders_dataset", "order_id, customer_id, order_status, order_purchase_timestamp"),
    "items": ("olist_order_items_dataset", "order_id, order_item_id, product_id, seller_id, price"),
    "customers": ("olist_customers_dataset", "customer_id, customer_unique_id"),
    "sellers": ("olist_sellers_dataset", "seller_id, seller_state"),
    "products": ("olist_products_dataset", "product_id, product_category_name"),
    "words": ("product_category_name_translation", "product_category_name, product_category_name_english"),
}
PILOT = {
    "apparel": "fashion_bolsas_e_acessorios fashion_calcados fashion_roupa_masculina fashion_roupa_feminina "
    "fashion_roupa_infanto_juvenil fashion_underwear_e_moda_praia",
    "beauty": "beleza_saude perfumaria",
    "sports_outdoors": "esporte_lazer fashion_esporte",
}

# Table, columns, condition that every row keeps, what the values must be.
LAWS = """
orders | order_id | order_id is not null and count(*) over (partition by order_id) = 1 | unique
items | order_id, order_item_id | count(*) over (partition by order_id, order_item_id) = 1 | unique
items | order_item_id | regexp_full_match(order_item_id, '[0-9]{1,9}') | whole numbers
items | price | try_cast(price as double) between 0 and 1e9 | amounts like 58.90, from 0 up
orders | order_purchase_timestamp | isfinite(try_strptime(order_purchase_timestamp, '%Y-%m-%d %X')) | times
orders | order_status | order_status is not null | filled
customers | customer_id | customer_id is not null and count(*) over (partition by customer_id) = 1 | unique
sellers | seller_id | seller_id is not null and count(*) over (partition by seller_id) = 1 | unique
products | product_id | product_id is not null and count(*) over (partition by product_id) = 1 | unique
words | product_category_name | count(*) over (partition by product_category_name) = 1 | unique
""".strip().splitlines()

BUILD = """
create temp table named as
select p.product_id, p.product_category_name as published, p.product_category_name is not null
    and coalesce(pilot.category, w.product_category_name_english) is null as untranslated,
    coalesce(pilot.category, w.product_category_name_english, p.product_category_name) as category
from products p left join words w using (product_category_name)
left join pilot on pilot.published = p.product_category_name;
create temp table line as
select i.order_id, cast(i.order_item_id as integer) as line_id, c.customer_unique_id as buyer_id,
    i.seller_id as merchant_id, n.category, strptime(o.order_purchase_timestamp, '%Y-%m-%d %X') as paid_at,
    cast(i.price as double) as amount, cast(1 as integer) as quantity, 'domestic' as market,
    if(o.order_status in ('canceled', 'unavailable'), 'cancelled', 'paid') as status,
    n.untranslated, n.product_id is null as productless,
    case when o.order_id is null then 'order' when c.customer_unique_id is null then 'customer'
        when s.seller_id is null then 'seller' end as missing
from items i left join orders o using (order_id) left join customers c using (customer_id)
left join sellers s using (seller_id) left join named n using (product_id);
create temp view written as select * from line where missing is null;
create temp view sale as select * from written where status = 'paid';
create temp table ranked as
select merchant_id, category, sum(cast(amount as decimal(18, 4))) as value, count(*) as lines,
    rank() over (partition by merchant_id order by value desc) as by_value,
    rank() over (partition by merchant_id order by value desc, lines desc) as by_lines,
    rank() over (partition by merchant_id order by value desc, lines desc, category) as place
from sale where category is not null and paid_at < (select pilot_date from span) group by 1, 2;
create temp table merchant as
with opened as (select merchant_id, cast(min(paid_at) as date) as opened_on from sale group by merchant_id)
select s.seller_id as merchant_id, coalesce(r.category, 'unknown') as category, o.opened_on,
    s.seller_state as region
from sellers s left join ranked r on r.merchant_id = s.seller_id and r.place = 1
left join opened o on o.merchant_id = s.seller_id;
"""

OUTPUTS = {
    "order_lines": """
        select order_id, line_id, buyer_id, merchant_id, category, paid_at, amount, quantity, status, market
        from written order by paid_at, order_id, line_id""",
    "merchants": "select merchant_id, category, opened_on, region from merchant order by merchant_id",
    "calendar": """
        select cast(day as date) as date, festival, if(festival is null, 'none', 'spot') as phase
        from generate_series(timestamp '2016-09-01', timestamp '2018-10-31', interval 1 day) as days(day)
        left join (values ('Mother''s Day', date '2017-05-08', date '2017-05-14'),
            ('Black Friday', date '2017-11-24', date '2017-11-27'),
            ('Mother''s Day', date '2018-05-07', date '2018-05-13')) as festivals(festival, first, last)
            on day between first and last order by 1""",
    "policies": """
        select policy, started_on, cast(ended_on as date) as ended_on, scope, 'down' as direction from (values
            ('interstate freight rise', date '2018-03-06', null, 'parcels between states'),
            ('truckers'' strike', date '2018-05-21', date '2018-06-01', 'all deliveries'))
            as policies(policy, started_on, ended_on, scope) order by started_on""",
}

# Lines and value: as read; as written (the file is bound) or refused.
BOOKS = (
    "select count(*), coalesce(sum(cast(cast(price as double) as decimal(18, 4))), 0) from items",
    """select count(*), coalesce(sum(cast(amount as decimal(18, 4))), 0)
    from (select amount from read_parquet(?) union all select amount from line where missing is not null)""",
)

# Step, meaning, the rows that are counted.
COUNTS = """
lines written | order items; freight is left out | written
lines refused: order missing | dropped, no time and no buyer | line where missing = 'order'
lines refused: customer missing | dropped, no buyer | line where missing = 'customer'
lines refused: seller missing | dropped, no merchant | line where missing = 'seller'
lines cancelled | status canceled or unavailable, no GMV | written where status = 'cancelled'
lines before data_from | kept, thin start | written where paid_at < (select data_from from span)
lines after data_through | kept, fades out | written where paid_at::date > (select data_through from span)
lines of missing products | kept without a category | written where productless
lines of uncategorised products | kept without a category | written where not productless and category is null
lines in untranslated categories | kept under the Portuguese key | written where untranslated
orders without items | dropped, nothing to count | orders anti join items using (order_id)
orders of unpublished status | counted as paid | orders where order_status not in ('delivered', 'shipped', \
'canceled', 'unavailable', 'invoiced', 'processing', 'created', 'approved')
products without a category | category stays empty | products where product_category_name is null
categories without a translation | keep their key | (select distinct published from named where untranslated)
merchants written | all sellers, also those without a sale | merchant
merchants without a sale | opened_on is empty | merchant where opened_on is null
merchants first seen before March 2017 | opened_on is left-censored | merchant where opened_on < '2017-03-01'
merchants of several categories before the pilot | frozen in the one with most sales value | \
(select merchant_id from ranked group by 1 having count(*) > 1)
merchants tied on value | frozen in the category with more lines | \
(select merchant_id from ranked where by_value = 1 group by 1 having count(*) > 1)
merchants tied on value and lines | frozen in the first category of the alphabet | \
(select merchant_id from ranked where by_lines = 1 group by 1 having count(*) > 1)
merchants of unknown category | no categorised sale before the pilot | merchant where category = 'unknown'
""".strip().splitlines()
