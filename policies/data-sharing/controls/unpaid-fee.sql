-- id: unpaid-fee
-- title: Fees unpaid after they were due
-- title-zh: 逾期未付的授权费
-- clause: data sharing rules, art. 8: the fee is paid within the time agreed
-- clause-zh: 数据共享规则第八条：授权费应在约定期限内支付
-- severity: medium
-- subject: grant_id
-- owner: owner
SELECT given.grant_id AS grant_id,
       given.dataset AS dataset,
       given.owner AS owner,
       given.owed AS owed,
       given.declared AS declared,
       given.owed - given.declared AS unpaid,
       given.due_at AS due_at
FROM data_sharing.grant AS given
WHERE given.owed > given.declared
  AND :as_of_time - given.due_at > :grace
ORDER BY given.grant_id
