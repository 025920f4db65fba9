-- id: beyond-contract
-- title: Use beyond the hours or the term agreed
-- title-zh: 超出约定工时或租期的使用
-- clause: leasing supervision rules, art. 8: a device is used within the contract
-- clause-zh: 租赁监管规则第八条：租赁物应在合同约定范围内使用
-- severity: medium
-- subject: lease_id
-- owner: lessee
SELECT lease_id,
       lessee,
       device,
       counter - counter_start AS hours_used,
       hours_limit * 1000 AS hours_agreed,
       ends_at,
       CASE WHEN counter - counter_start > (hours_limit + :tolerance) * 1000 THEN 'hours' ELSE 'term' END AS breach
FROM leasing.lease
WHERE state IN ('active', 'overdue', 'defaulted', 'returning')
  AND (counter - counter_start > (hours_limit + :tolerance) * 1000 OR :as_of_time > ends_at)
ORDER BY lease_id
