-- id: locked-though-paid
-- title: Devices that stay locked although all that was billed is paid
-- title-zh: 租金付清后仍被锁机的设备
-- clause: leasing supervision rules, art. 15: the lock ends with the arrears
-- clause-zh: 租赁监管规则第十五条：欠款清偿后应及时解锁
-- severity: high
-- subject: lease_id
-- owner: owner
SELECT lease_id, owner, lessee, device, paid, changed_at AS locked_at
FROM leasing.lease
WHERE state = 'defaulted'
  AND paid >= invoiced
  AND :as_of_time - changed_at > :grace
ORDER BY lease_id
