-- id: one-sided-hand-over
-- title: Hand-overs that one side alone has signed
-- title-zh: 仅一方签署的货物交接
-- clause: carriage rules, art. 8: a hand-over is signed by both sides within the time allowed
-- clause-zh: 货物运输规则第八条：货物交接应由双方在规定期限内签署
-- severity: high
-- subject: hand_over_id
-- owner: receiver
SELECT hand_over_id,
       consignment,
       owner AS giver,
       receiver,
       given_at,
       (:as_of_time - given_at) / 3600000 AS waiting_hours
FROM logistics.hand_over
WHERE state = 'offered' AND :as_of_time - given_at > :hours * 3600000
ORDER BY hand_over_id
