-- id: unanswered-request
-- title: Requests for access that nobody answers
-- title-zh: 逾期未答复的访问申请
-- clause: access rules, art. 4: the owner answers within the time limit
-- clause-zh: 访问控制规则第四条：所有者应在期限内答复申请
-- severity: low
-- subject: right_id
-- owner: owner
SELECT access_right.right_id AS right_id,
       access_right.device AS device,
       access_right.owner AS owner,
       access_right.visitor AS visitor,
       access_right.asked_at AS asked_at,
       (:as_of_time - access_right.asked_at) / 86400000 AS waiting_days
FROM access_control.access_right AS access_right
WHERE access_right.state = 'requested'
  AND :as_of_time - access_right.asked_at > :days * 86400000
ORDER BY access_right.right_id
