-- id: readings-missing
-- title: Leases whose device has not reported its hours
-- title-zh: 计费期内缺少工时读数的租约
-- clause: leasing supervision rules, art. 6: rent by use needs readings for every billing day
-- clause-zh: 租赁监管规则第六条：按使用计费的，每个计费日均应有工时读数
-- severity: medium
-- subject: lease_id
-- owner: owner
SELECT lease_id,
       owner,
       lessee,
       device,
       billed_at AS last_billed_at,
       (:as_of_time - billed_at) / 86400000 AS days_without
FROM leasing.lease
WHERE state IN ('active', 'overdue')
  AND :as_of_time - billed_at > :days * 86400000
ORDER BY lease_id
