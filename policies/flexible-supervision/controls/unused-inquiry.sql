-- id: unused-inquiry
-- title: Findings passed on that nobody looked at
-- title-zh: 移送后无人查阅的协查材料
-- clause: flexible supervision rules, art. 8: what is passed on is needed, and used for what it was asked for
-- clause-zh: 柔性监管规则第八条：协查材料应出于必要并按请求目的使用
-- severity: low
-- subject: inquiry_id
-- owner: owner
SELECT inquiry.inquiry_id AS inquiry_id,
       inquiry.owner AS owner,
       inquiry.asked AS asked,
       inquiry.company AS company,
       inquiry.purpose AS purpose,
       inquiry.state AS inquiry_state,
       inquiry.until AS until
FROM flexible_supervision.inquiry AS inquiry
WHERE inquiry.looks = 0
  AND (inquiry.state = 'ended' OR (inquiry.state = 'granted' AND :as_of_time > inquiry.until))
ORDER BY inquiry.inquiry_id
