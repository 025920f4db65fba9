-- id: unpaid-share
-- title: Shares that have not been paid in time
-- title-zh: 逾期未付的收益份额
-- clause: battery recycling rules, art. 15: agreed shares are paid within the agreed time
-- clause-zh: 动力电池回收利用规则第十五条：约定的收益份额应按期支付
-- severity: medium
-- subject: payout_id
-- owner: owner
SELECT payout_id,
       hand_over,
       owner,
       payee,
       amount,
       due_at,
       (:as_of_time - due_at) / 86400000 AS late_days
FROM recycling.payout
WHERE state <> 'paid' AND :as_of_time - due_at > :days * 86400000
ORDER BY payout_id
