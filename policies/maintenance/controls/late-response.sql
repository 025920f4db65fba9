-- id: late-response
-- title: Companies on site later than promised
-- title-zh: 超过承诺时限未到场
-- clause: maintenance rules, art. 6: who accepts a work order is on site in the time promised
-- clause-zh: 设备维修规则第六条：承修人应在承诺时限内到场
-- severity: medium
-- subject: order_id
-- owner: company
SELECT order_id,
       company,
       owner AS customer,
       device,
       (COALESCE(on_site_at, :as_of_time) - respond_by) / 60000 AS late_by,
       respond_by
FROM maintenance.work_order
WHERE state NOT IN ('opened', 'cancelled')
  AND COALESCE(on_site_at, :as_of_time) > respond_by + :grace * 60000
ORDER BY order_id
